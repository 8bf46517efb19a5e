//! An archive to a folder.
