"""The command that finds the keypoints of people in pictures, by BlazePose."""
