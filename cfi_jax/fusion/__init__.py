"""What any fusion system needs: nouns, interventions, losses, rules."""
