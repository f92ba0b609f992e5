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
}
