import Foundation
import Testing
import XTunerSystem

@Suite struct SystemReasonTests {
  @Test func theSystemsWordsAreFoundInsideFoundationsErrors() {
    #expect(SystemReason.text(POSIXError(.ENOSPC)) == "No space left on device")
    let error = #expect(throws: (any Error).self) {
      try Data(contentsOf: URL(fileURLWithPath: "/proc/none/file"))
    }
    #expect(error.map(SystemReason.text) == "No such file or directory")
    let written = #expect(throws: (any Error).self) {
      try Data().write(to: URL(fileURLWithPath: "/proc/none/file"))
    }
    #expect(written.map(SystemReason.text) == "No such file or directory")
  }

  @Test func tooManyOpenFilesSayWhatHelps() {
    let error = CocoaError(
      .fileReadUnknown, userInfo: [NSUnderlyingErrorKey: POSIXError(.EMFILE)])
    #expect(
      SystemReason.text(error) == "Too many open files; raise the limit of open files (ulimit -n)")
  }

  @Test func foundationsOwnRefusalsAreSeenThrough() {
    let manager = FileManager.default
    func reason(_ body: () throws -> Void) -> String {
      do {
        try body()
        return "no error"
      } catch {
        return SystemReason.text(error)
      }
    }
    #expect(
      reason { _ = try manager.contentsOfDirectory(atPath: "/nowhere/\u{E9}") }
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
      let text = SystemReason.text(CocoaError(code))
      #expect(!text.contains("Cocoa") && !text.contains("256") && !text.isEmpty, "\(text)")
    }
  }
}
