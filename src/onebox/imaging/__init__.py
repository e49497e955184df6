"""What families, tasks and routes share about pictures: opening them, masks, composing, drawing by
diffusion, cutting out.
"""
