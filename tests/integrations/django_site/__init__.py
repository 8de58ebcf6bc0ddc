"""A Django project whose tests are run by Django: it has settings for the whole process."""
