//! The table as a list, read from top to bottom: the slow and obvious oracle that the classifier is held against.
