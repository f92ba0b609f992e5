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
    // Every sum was given to one caller, so none was lost or counted twice; each caller's rise.
    let sums = try results.map { try $0.get() }
    #expect(sums.flatMap(\.self).sorted() == (1...200).map { 3 * $0 })
    for own in sums { #expect(own == own.sorted()) }
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
