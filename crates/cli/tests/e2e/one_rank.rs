//! A program that was built without MPI and is started by its launcher.

use crate::support::Home;

#[test]
fn ranks_that_know_nothing_of_each_other_are_refused() {
    for name in ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"] {
        let home = Home::new();
        home.write("text.txt", b"some text");
        let mut command = home.command(&["pretrain", "text.txt", "-o", "run"]);
        let output = command.env(name, "3").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("one of 3 ranks") && said.contains("--features mpi"), "{said}");
        assert!(!home.path("run").exists());
    }
}
