"""Networks and nothing else: the GAN (gan), the scoring network (scorer), their sizes (config, which needs no torch).
"""
