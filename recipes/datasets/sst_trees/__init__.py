"""The Stanford Sentiment Treebank as trees in brackets."""
