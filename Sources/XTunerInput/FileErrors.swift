import Foundation

/// What the system says when it refuses a file, in words.
package enum FileErrors {
  /// The reason of a failed operation on a file, without the file's name.
  ///
  /// Foundation wraps what the system said into codes of its own; those help nobody.
  package static func reason(of error: any Error) -> String {
    if let number = systemNumber(of: error) { return words(number) }
    guard let error = error as? CocoaError else {
      let text = "\(error)"
      return text.contains("NSCocoaErrorDomain") ? "the system refuses it" : text
    }
    switch error.code {
    case .fileNoSuchFile, .fileReadNoSuchFile: return words(ENOENT)
    case .fileReadNoPermission, .fileWriteNoPermission: return words(EACCES)
    case .fileWriteOutOfSpace: return words(ENOSPC)
    case .fileWriteVolumeReadOnly: return words(EROFS)
    case .fileWriteFileExists: return words(EEXIST)
    case .fileReadTooLarge: return words(EFBIG)
    case .fileReadInapplicableStringEncoding, .fileReadUnknownStringEncoding: return "is not UTF-8"
    case .fileReadInvalidFileName, .fileWriteInvalidFileName: return "is no possible file name"
    case .fileReadUnknown: return "the system refuses to read it"
    default: return "the system refuses it"
    }
  }

  /// The system's number inside any wrapping.
  private static func systemNumber(of error: any Error) -> Int32? {
    if let error = error as? POSIXError { return error.code.rawValue }
    let wrapped = error as NSError
    if wrapped.domain == NSPOSIXErrorDomain { return Int32(exactly: wrapped.code) }
    guard let cause = wrapped.userInfo[NSUnderlyingErrorKey] as? any Error else { return nil }
    return systemNumber(of: cause)
  }

  private static func words(_ number: Int32) -> String {
    strerror(number).map { String(cString: $0) } ?? "error \(number)"
  }
}
