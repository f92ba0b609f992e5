import Foundation
import Synchronization
import Testing
import XTunerSystem

@Suite struct StandardStreamTests {
  private func pipe() throws -> (reader: Int32, writer: Int32) {
    var ends: [Int32] = [0, 0]
    try #require(Glibc.pipe(&ends) == 0)
    return (ends[0], ends[1])
  }

  @Test func aReaderThatIsGoneIsAFailureAndNoSignal() throws {
    StandardStream.outliveReaders()
    let (reader, writer) = try pipe()
    defer { close(writer) }
    close(reader)
    #expect(WholeWrite.write([1, 2, 3], to: writer) == EPIPE)
  }

  @Test func aFullDiskIsAFailure() throws {
    let full = open("/dev/full", O_WRONLY)
    defer { close(full) }
    #expect(WholeWrite.write([1, 2, 3], to: full) == ENOSPC)
    #expect(WholeWrite.write([], to: full) == nil)
  }

  @Test func aDescriptorThatDoesNotWaitGetsEveryByte() throws {
    let (reader, writer) = try pipe()
    defer { close(reader) }
    try #require(fcntl(writer, F_SETFL, O_NONBLOCK) == 0)
    // Far more than a pipe holds.
    let bytes = (0..<700_001).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    let failure = Mutex<Int32?>(nil)
    Thread.detachNewThread {
      let result = WholeWrite.write(bytes, to: writer)
      failure.withLock { $0 = result }
      close(writer)
    }
    var received: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4097)
    while case let count = read(reader, &buffer, buffer.count), count > 0 {
      received += buffer[..<count]
    }
    #expect(received == bytes)
    #expect(failure.withLock { $0 } == nil)
  }
}

@Suite struct CacheFolderTests {
  @Test(arguments: [
    (["XDG_CACHE_HOME": "/caches", "HOME": "/people/a"], "/caches"),
    (["XDG_CACHE_HOME": "relative", "HOME": "/people/a"], "/people/a/.cache"),
    (["XDG_CACHE_HOME": "", "HOME": "/people/a"], "/people/a/.cache"),
    (["HOME": ""], "/account/.cache"), ([:], "/account/.cache"),
  ])
  func isWhereTheVariablesSay(environment: [String: String], path: String) {
    #expect(CacheFolder.path(environment: environment, account: "/account") == path)
  }
}
