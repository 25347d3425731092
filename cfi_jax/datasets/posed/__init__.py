"""People of the user's own: pictures with keypoints in files, in the layouts of other projects."""
