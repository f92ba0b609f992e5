import XTunerParallel
import XTunerText

/// Checks of what a manifest says, which is arithmetic on numbers that anyone may have written.
extension RunCheckpointManifest {
  /// Names that files of tensors and of the model cannot have.
  static let reservedNames: Set<ExactText> = Set([fileName, digestFileName, stateFileName])

  /// The most steps and bytes that are read as such; sums of two stay far from overflow.
  private static let largestNumber = 1 << 53

  /// Throws where a number, name or place is impossible: nothing that this accepts overflows later.
  ///
  /// That a piece lies in its tensor is for `RunCheckpoint.verify()`, that pieces make a whole parameter
  /// for whoever knows the parameter.
  func check(path: String) throws(CheckpointError) {
    func damaged(_ reason: String) -> CheckpointError {
      CheckpointError(.damaged, path: path, reason)
    }
    guard (0...Self.largestNumber).contains(step) else {
      throw damaged("step must be between 0 and \(Self.largestNumber), is \(step)")
    }
    var byteCounts: [ExactText: Int] = [:]
    for file in files {
      guard FileSystem.isPlainName(file.name) else {
        throw damaged("\(file.name) is not a plain file name")
      }
      guard file.byteCount >= 0 else {
        throw damaged("\(file.name): byteCount must not be negative, is \(file.byteCount)")
      }
      guard byteCounts.updateValue(file.byteCount, forKey: file.name) == nil else {
        throw damaged("\(file.name) is listed twice")
      }
    }
    for name in modelFiles ?? [] where byteCounts[name] == nil {
      throw damaged("\(name) is a file of the model and not listed among the files")
    }
    for piece in pieces {
      guard let byteCount = byteCounts[piece.file] else {
        throw damaged("\(piece.parameter) is in \(piece.file), which is not listed among the files")
      }
      if let reason = piece.problem(fileByteCount: byteCount) {
        throw damaged("\(piece.parameter) in \(piece.file): \(reason)")
      }
    }
  }
}

extension RunCheckpointManifest.Piece {
  /// What is impossible about the piece, nil where nothing is.
  fileprivate func problem(fileByteCount: Int) -> String? {
    guard offset >= 0, length >= 0 else {
      return "offset and length must not be negative, are \(offset) and \(length)"
    }
    let (end, isOverflowing) = offset.addingReportingOverflow(length)
    let (bits, isTooLong) = end.multipliedReportingOverflow(by: dataType.bitCount)
    guard !isOverflowing, !isTooLong, bits / 8 <= fileByteCount else {
      return "offset \(offset) and length \(length) are not in a file of \(fileByteCount) bytes"
    }
    let start = start ?? 0
    guard start >= 0 else { return "start must not be negative, is \(start)" }
    if let slice, start > slice.localCount || length > slice.localCount - start {
      return
        "start \(start) and length \(length) are not in a slice of \(slice.localCount) elements"
    }
    guard tensor == unit else { return "is in the tensor \(tensor) of the unit \(unit)" }
    return nil
  }
}
