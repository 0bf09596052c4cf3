-- One database for each service that keeps SQL state: nobody opens another one's.
CREATE DATABASE auth;
CREATE DATABASE orders;
