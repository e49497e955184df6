"""Models that run on other servers: behind the same seam as the workers, so that nothing above it
knows them apart.

client → adapter of the kind (what is asked and what comes back) → connection (how it is asked)
"""
