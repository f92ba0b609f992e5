import Foundation
import Testing
import Torch

/// Values by name.
@Suite struct DistributedStoreTests {
  @Test func ranksSeeEachOthersValues() throws {
    let results = try runRanks(3) { rank, store in
      let own = try Store.tcp(
        host: "127.0.0.1", port: store.port, isServer: false, timeout: .seconds(20))
      try own.set("value/\(rank)", [UInt8(rank), 255, 0])
      return try (0..<3).map { try own.get("value/\($0)", timeout: .seconds(10)) }
    }
    for result in results {
      #expect(try result.get() == [[0, 255, 0], [1, 255, 0], [2, 255, 0]])
    }
  }

  @Test func oneThreadWaitsWhileAnotherSets() throws {
    let results = try runRanks(2) { rank, store in
      if rank == 1 {
        Thread.sleep(forTimeInterval: 0.2)
        try store.set("late", [])
      }
      return try store.get("late", timeout: .seconds(10))
    }
    for result in results { #expect(try result.get() == []) }
  }

  @Test func sumsAreExact() throws {
    let results = try runRanks(4) { _, store in
      try (0..<50).map { _ in try store.add("sum", 3) }
    }
    // Every addition saw another sum, and none was lost.
    let sums = try results.flatMap { try $0.get() }.sorted()
    #expect(sums == (1...200).map { 3 * $0 })
  }

  @Test(arguments: [true, false])
  func aHostThatNobodyKnowsIsNamedWithinTheTimeOut(isServer: Bool) throws {
    let error = #expect(throws: CommunicationError.self) {
      _ = try Store.tcp(
        host: "no-such-host.invalid", port: 29_999, isServer: isServer, timeout: .seconds(1))
    }
    let message = try #require(error?.message)
    #expect(
      message.hasPrefix(
        "the store's host no-such-host.invalid is no name or address that this machine knows ("),
      "\(message)")
    #expect(
      message.hasSuffix("for 1 s); check MASTER_ADDR, or the option of the launcher that sets it"))
  }

  @Test func prefixesShareAConnectionAndNoKeys() throws {
    let store = try Store.tcp(host: "127.0.0.1", port: 0, isServer: true, timeout: .seconds(20))
    let (a, b) = (store.withPrefix("a/"), store.withPrefix("b/"))
    try a.set("key", [1])
    #expect(try !b.contains("key"))
    try b.set("key", [2])
    #expect(try a.get("key", timeout: .seconds(1)) == [1])
    #expect(try store.get("b/key", timeout: .seconds(1)) == [2])
  }

  @Test func missingKeyTimesOut() throws {
    let store = try Store.tcp(host: "127.0.0.1", port: 0, isServer: true, timeout: .seconds(20))
    #expect(try !store.contains("never"))
    let error = #expect(throws: CommunicationError.self) {
      _ = try store.get("never", timeout: .milliseconds(300))
    }
    #expect(error?.code == .timeout)
    #expect(
      error?.message
        == "nobody set never in the store at 127.0.0.1:\(store.port) within 0.3 s")
    try store.set("there", [7])
    #expect(try store.contains("there"))
    #expect(try store.add("count", 5) == 5)
    #expect(try store.add("count", -2) == 3)
  }
}
