"""Files for other people's programs, made from the tables that the stages run on."""
