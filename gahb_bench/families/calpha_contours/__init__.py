"""C^alpha images with C^alpha contours: the optimum lies in a bracket from simulation."""
