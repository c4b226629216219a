"""How requests are signed: kinds says which provider needs what; aws, google; renewal keeps tokens fresh."""
