"""The parts that any fusion system needs: nouns, interventions, loss terms, rules, arrays."""
