"""From memorising to generalising: networks on disjoint training sets, beside memoriser and truth."""
