"""Methods of the seam `stop`: is more of this sequence worth having?"""
