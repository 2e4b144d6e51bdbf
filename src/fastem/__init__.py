"""fastem"""
