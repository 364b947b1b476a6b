"""Export packages of a project. Tables and reads only: Kroma itself writes no rows here."""
