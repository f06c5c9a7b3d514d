"""What processes of one installation say to each other and to nobody else."""
