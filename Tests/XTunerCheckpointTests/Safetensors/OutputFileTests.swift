import Foundation
import Testing

@testable import XTunerCheckpoint

/// What a name may stand for besides a file.
@Suite struct OutputFileTests {
  private let folder: TemporaryFolder
  private let bytes = Array("seventeen bytes!\n".utf8)

  init() throws { folder = try TemporaryFolder() }

  private func content(_ path: String) -> [UInt8]? {
    FileManager.default.contents(atPath: path).map { Array($0) }
  }

  @Test func aLinkIsFollowedAndStays() throws {
    let (target, link) = (folder.file("target"), folder.file("link"))
    try Data("old".utf8).write(to: URL(fileURLWithPath: target))
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: "target")
    try OutputFile.write(bytes, to: link)
    #expect(try FileManager.default.destinationOfSymbolicLink(atPath: link) == "target")
    #expect(content(target) == bytes)
    #expect(try folder.names.sorted() == ["link", "target"])
  }

  @Test func aLinkToNothingMakesWhatItNames() throws {
    try FileManager.default.createDirectory(
      atPath: folder.file("deep"), withIntermediateDirectories: true)
    let links = [folder.file("first"), folder.file("deep/second")]
    let manager = FileManager.default
    try manager.createSymbolicLink(atPath: links[0], withDestinationPath: "deep/second")
    try manager.createSymbolicLink(atPath: links[1], withDestinationPath: "../target")
    try OutputFile.write(bytes, to: links[0])
    #expect(content(folder.file("target")) == bytes)
    for link in links {
      #expect((try? manager.destinationOfSymbolicLink(atPath: link)) != nil, "\(link)")
    }
  }

  @Test func linksThatGoRoundAreRefused() throws {
    let link = folder.file("link")
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: "link")
    let error = #expect(throws: CheckpointError.self) { try OutputFile.write(bytes, to: link) }
    #expect(error?.description.hasPrefix("\(link): cannot ") == true)
  }

  @Test func aPipeIsWrittenToAndStays() throws {
    let path = folder.file("pipe")
    try #require(mkfifo(path, 0o600) == 0)
    // Open for both, so that nobody waits for anybody.
    let descriptor = open(path, O_RDWR | O_NONBLOCK)
    defer { close(descriptor) }
    try OutputFile.write(bytes, to: path)
    var received = [UInt8](repeating: 0, count: 97)
    let count = read(descriptor, &received, received.count)
    #expect(Array(received.prefix(max(count, 0))) == bytes)
    #expect(try folder.names == ["pipe"])
  }

  @Test func aDeviceStaysADevice() throws {
    try OutputFile.write(bytes, to: "/dev/null")
    let error = #expect(throws: CheckpointError.self) {
      try OutputFile.write(bytes, to: "/dev/full")
    }
    #expect(error?.code == .noSpace)
    for device in ["/dev/null", "/dev/full"] {
      var status = stat()
      #expect(stat(device, &status) == 0 && status.st_mode & S_IFMT == S_IFCHR, "\(device)")
      #expect(!FileManager.default.fileExists(atPath: "\(device).incomplete"))
    }
  }

  @Test func aFolderIsNoFile() {
    let error = #expect(throws: CheckpointError.self) { try OutputFile.write(bytes, to: "/tmp") }
    #expect(error?.description == "/tmp: is a folder; give the name of a file")
  }

  @Test func aFileThatIsReplacedKeepsItsPermissions() throws {
    let path = folder.file("secret")
    try Data("old".utf8).write(to: URL(fileURLWithPath: path))
    try #require(chmod(path, 0o600) == 0)
    try OutputFile.write(bytes, to: path)
    var status = stat()
    #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
    #expect(content(path) == bytes)
  }
}
