import Foundation
import Testing

@testable import XTunerInput

@Suite struct FileErrorTests {
  private func reason(_ body: () throws -> Void) -> String {
    do {
      try body()
      return "no error"
    } catch {
      return FileErrors.reason(of: error)
    }
  }

  @Test func theSystemsWordsAreFoundInsideFoundationsErrors() {
    let manager = FileManager.default
    #expect(
      reason { _ = try manager.contentsOfDirectory(atPath: "/nowhere/\u{E9}") }
        == "No such file or directory")
    #expect(
      reason { _ = try Data(contentsOf: URL(fileURLWithPath: "/nowhere")) }
        == "No such file or directory")
    #expect(
      reason { try Data([1]).write(to: URL(fileURLWithPath: "/dev/full")) }
        == "No space left on device")
    #expect(
      reason {
        try manager.createDirectory(atPath: "/dev/null/x", withIntermediateDirectories: true)
      } == "Not a directory")
  }

  @Test func noCodeOfFoundationIsShown() {
    for code in [CocoaError.Code.fileReadUnknown, .fileWriteUnknown, .featureUnsupported] {
      let text = FileErrors.reason(of: CocoaError(code))
      #expect(!text.contains("Cocoa") && !text.contains("256") && !text.isEmpty, "\(text)")
    }
  }
}
