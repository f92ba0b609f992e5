public import Foundation

/// Writes scalars as TensorBoard event files: TFRecords of protobuf `Event` messages.
public final class TensorBoardWriter: Sendable {
  private let file: AppendOnlyFile
  private let now: @Sendable () -> Date

  /// Path of the event file.
  public var path: String { file.path }

  /// Starts a new event file in a folder, making the folder if needed.
  ///
  /// - Parameters:
  ///   - folder: Usually ``RunLayout/tensorboard``.
  ///   - step: The last step that counts as done; TensorBoard then forgets what earlier files of
  ///     the folder say about later steps. 0 for a new run.
  ///   - now: The clock; replaced in tests.
  /// - Throws: ``RunDirectoryError`` when the folder or the file cannot be made.
  public init(
    folder: String, resumingAfter step: Int = 0, now: @escaping @Sendable () -> Date = { Date() }
  ) throws(RunDirectoryError) {
    self.now = now
    if mkdir(folder, 0o777) != 0, errno != EEXIST {
      throw .system(path: folder, action: "make the folder", errorNumber: errno)
    }
    let host = ProcessInfo.processInfo.hostName
    let seconds = Int(now().timeIntervalSince1970)
    file = try AppendOnlyFile(
      path: "\(folder)/events.out.tfevents.\(seconds).\(host).\(getpid())")
    try append(TensorBoardEvent.fileVersion(time: now().timeIntervalSince1970))
    if step > 0 {
      try append(
        TensorBoardEvent.sessionStart(time: now().timeIntervalSince1970, step: step + 1))
    }
  }

  /// Writes the curves of a step.
  public func write(_ metrics: StepMetrics) throws(RunDirectoryError) {
    var scalars: [(String, Double)] = [
      ("train/loss", metrics.loss),
      ("train/grad_norm", metrics.gradientNorm),
      ("train/learning_rate", metrics.learningRate),
      ("train/tokens", Double(metrics.tokens)),
      ("train/loss_tokens", Double(metrics.lossTokens)),
      ("speed/tokens_per_second", metrics.tokensPerSecond),
      ("speed/step_seconds", metrics.stepSeconds),
      ("speed/data_seconds", metrics.dataSeconds),
    ]
    if let value = metrics.modelFlopsUtilization { scalars.append(("speed/mfu", value)) }
    if let value = metrics.memoryPeakBytes { scalars.append(("memory/peak_bytes", Double(value))) }
    if let value = metrics.maxViolation { scalars.append(("moe/max_violation", value)) }
    if let value = metrics.balanceLoss { scalars.append(("moe/balance_loss", value)) }
    if let value = metrics.routerZLoss { scalars.append(("moe/router_z_loss", value)) }
    if let value = metrics.zLoss { scalars.append(("train/z_loss", value)) }
    scalars += metrics.sourceLosses.map { ("source_loss/\($0.name)", $0.value) }
    try write(scalars, step: metrics.step)
  }

  /// Writes the curves of an evaluation.
  public func write(_ metrics: EvaluationMetrics) throws(RunDirectoryError) {
    let sources = metrics.sourceLosses.map { ("evaluation/source_loss/\($0.name)", $0.value) }
    try write([("evaluation/loss", metrics.loss)] + sources, step: metrics.step)
  }

  /// Writes one value for each of several curves.
  ///
  /// - Parameters:
  ///   - scalars: Tag and value of each curve; a slash in a tag groups curves.
  ///   - step: Where on the horizontal axis they stand.
  /// - Throws: ``RunDirectoryError`` when the disk is full.
  public func write(_ scalars: [(String, Double)], step: Int) throws(RunDirectoryError) {
    try append(
      TensorBoardEvent.scalars(scalars, time: now().timeIntervalSince1970, step: step))
  }

  /// Waits until everything is on the disk.
  public func synchronize() throws(RunDirectoryError) {
    try file.synchronize()
  }

  private func append(_ event: [UInt8]) throws(RunDirectoryError) {
    try file.append(TensorBoardEvent.record(event))
  }
}

/// The few protobuf messages that scalars need.
///
/// `Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5;
/// SessionLog session_log = 7; }`, `Summary { repeated Value value = 1; }`,
/// `Value { string tag = 1; float simple_value = 2; }`, `SessionLog { SessionStatus status = 1; }`.
enum TensorBoardEvent {
  /// The first record of every file; later readers rely on the 2.
  static func fileVersion(time: Double) -> [UInt8] {
    header(time: time, step: 0) + bytes(field: 3, Array("brain.Event:2".utf8))
  }

  /// Says that the run (re)starts with a step.
  static func sessionStart(time: Double, step: Int) -> [UInt8] {
    let start: [UInt8] = [0x08, 0x01]
    return header(time: time, step: step) + bytes(field: 7, start)
  }

  static func scalars(_ scalars: [(String, Double)], time: Double, step: Int) -> [UInt8] {
    var summary: [UInt8] = []
    for (tag, value) in scalars {
      let float = littleEndian(Float(value).bitPattern)
      summary += bytes(field: 1, bytes(field: 1, Array(tag.utf8)) + [2 << 3 | 5] + float)
    }
    return header(time: time, step: step) + bytes(field: 5, summary)
  }

  /// A TFRecord: length, its masked checksum, the data, its masked checksum.
  static func record(_ data: [UInt8]) -> [UInt8] {
    let length = littleEndian(UInt64(data.count))
    return length + littleEndian(CRC32C.masked(length)) + data
      + littleEndian(CRC32C.masked(data))
  }

  private static func header(time: Double, step: Int) -> [UInt8] {
    let stepField: [UInt8] = step == 0 ? [] : [2 << 3 | 0] + varint(UInt64(bitPattern: Int64(step)))
    return [1 << 3 | 1] + littleEndian(time.bitPattern) + stepField
  }

  private static func bytes(field: UInt8, _ content: [UInt8]) -> [UInt8] {
    [field << 3 | 2] + varint(UInt64(content.count)) + content
  }

  private static func varint(_ value: UInt64) -> [UInt8] {
    var rest = value
    var result: [UInt8] = []
    while rest >= 0x80 {
      result.append(UInt8(rest & 0x7F) | 0x80)
      rest >>= 7
    }
    return result + [UInt8(rest)]
  }

  private static func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
  }
}

/// The Castagnoli checksum that TFRecord files carry.
enum CRC32C {
  private static let table: [UInt32] = (0..<256).map { index in
    var value = UInt32(index)
    for _ in 0..<8 {
      // 0x82F63B78 is the polynomial 0x1EDC6F41, bits reversed.
      value = value & 1 == 1 ? (value >> 1) ^ 0x82F6_3B78 : value >> 1
    }
    return value
  }

  static func checksum(_ bytes: some Sequence<UInt8>) -> UInt32 {
    var value = UInt32.max
    for byte in bytes {
      value = table[Int((value ^ UInt32(byte)) & 0xFF)] ^ (value >> 8)
    }
    return ~value
  }

  /// The checksum as TFRecord stores it: rotated and offset, so that a checksum of data that
  /// contains checksums stays useful.
  static func masked(_ bytes: some Sequence<UInt8>) -> UInt32 {
    let value = checksum(bytes)
    return (value >> 15 | value << 17) &+ 0xA282_EAD8
  }
}
