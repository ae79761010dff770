"""The ground floor: contracts and tools that know no law and no method; everything else builds on them."""
