"""Networks and nothing else: the GAN (gan), the scoring network (scorer), the codec (codec), their sizes (config, which
needs no torch).
"""
