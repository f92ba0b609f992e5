import ConfigurationSupport
import Foundation
import Testing

@testable import XTunerConfiguration
@testable import XTunerRun

@Suite struct RunDirectoryTests {
  @Test func makesTheDirectoryAndWritesTheResolvedConfiguration() throws {
    let folder = try TemporaryFolder()
    let root = "\(folder.path)/runs/deep/demo"
    let directory = try RunDirectory(path: root)
    let configuration = try load(minimalYAML)
    try directory.write(configuration)
    #expect(try RunConfiguration.load(file: directory.layout.configuration) == configuration)
    #expect(directory.layout.metrics == "\(root)/metrics.jsonl")
    #expect(RunLayout(root: "r/").log == "r/log.txt")
    let lock = try folder.text("runs/deep/demo/run.lock")
    #expect(lock.hasPrefix("\(getpid()) "))
  }

  @Test func secondOwnerIsToldWhoTheFirstIs() throws {
    let folder = try TemporaryFolder()
    let root = "\(folder.path)/run"
    var first: RunDirectory? = try RunDirectory(path: root)
    let error = #expect(throws: RunDirectoryError.self) { try RunDirectory(path: root) }
    let host = ProcessInfo.processInfo.hostName
    #expect(error?.code == .inUse)
    #expect(
      error?.description == """
        \(root): is in use by process \(getpid()) on \(host); wait for it, or set another \
        run.directory
        """)
    #expect(first?.layout.root == root)
    first = nil
    _ = try RunDirectory(path: root)
  }

  @Test func lockFileOfADeadProcessLocksNothing() throws {
    let folder = try TemporaryFolder()
    try Data("999999 elsewhere\n".utf8).write(to: URL(filePath: "\(folder.path)/run.lock"))
    _ = try RunDirectory(path: folder.path)
    #expect(try folder.text("run.lock").hasPrefix("\(getpid()) "))
  }

  @Test func fileInTheWayIsNamed() throws {
    let folder = try TemporaryFolder()
    try Data().write(to: URL(filePath: "\(folder.path)/file"))
    for path in ["\(folder.path)/file", "\(folder.path)/file/run"] {
      let error = #expect(throws: RunDirectoryError.self) { try RunDirectory(path: path) }
      #expect(
        error?.description == """
          \(path): cannot make the run directory: a file is in the way; set run.directory to \
          another path
          """)
    }
  }

  @Test(.enabled(if: FileManager.default.fileExists(atPath: "/proc/self")))
  func unwritableDirectoryIsNamed() throws {
    let error = #expect(throws: RunDirectoryError.self) {
      try RunDirectory(path: "/proc/no-such/run")
    }
    #expect(error?.code == .unwritable)
    #expect(
      error?.description == """
        /proc/no-such/run: cannot make the run directory: No such file or directory; set \
        run.directory to a folder you can write
        """)
  }

  @Test func errorNumbersBecomeAdvice() {
    #expect(
      RunDirectoryError.system(path: "r", action: "write", errorNumber: EACCES).description
        == "r: cannot write: Permission denied; set run.directory to a folder you can write")
    #expect(
      RunDirectoryError.system(path: "r", action: "write", errorNumber: EDQUOT).code == .noSpace)
  }

  @Test func replacingKeepsTheOldFileWhenItFails() throws {
    let folder = try TemporaryFolder()
    let path = "\(folder.path)/config.yaml"
    try FileWriting.replace(path, with: "old".utf8)
    try FileWriting.replace(path, with: "new".utf8)
    #expect(try folder.text("config.yaml") == "new")
    // A folder where the temporary file would be: the write fails before the rename.
    try FileManager.default.createDirectory(
      atPath: "\(path).incomplete", withIntermediateDirectories: false)
    #expect(throws: RunDirectoryError.self) { try FileWriting.replace(path, with: "x".utf8) }
    #expect(try folder.text("config.yaml") == "new")
  }

  @Test func logHasOneLineAnEvent() throws {
    let folder = try TemporaryFolder()
    let log = try RunLog(path: "\(folder.path)/log.txt") {
      Date(timeIntervalSince1970: 1_700_000_000.25)
    }
    try log.write(.info, "run started", ["run.name": "demo", "note": "two words\n\"x\""])
    try log.write(.warning, "step skipped", ["step": "7", "empty": ""])
    try log.synchronize()
    #expect(
      try folder.text("log.txt") == """
        2023-11-14T22:13:20.250Z info run started run.name=demo note="two words\\n\\"x\\""
        2023-11-14T22:13:20.250Z warning step skipped step=7 empty=""

        """)
  }
}
