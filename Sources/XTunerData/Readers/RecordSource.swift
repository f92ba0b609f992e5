/// The layout of the records of a data source.
public enum DataFormat: String, Sendable, Hashable, CaseIterable, Codable {
  /// Told from the first records.
  case auto
  /// `messages` with `role` and `content`, as the OpenAI API has them.
  case messages
  /// `conversations` with `from` and `value`.
  case shareGPT = "sharegpt"
  /// `instruction`, `input` and `output`.
  case alpaca
  /// `text`, for pre-training.
  case text
}

/// What becomes one record in a plain text file.
public enum TextUnit: String, Sendable, Hashable, CaseIterable, Codable {
  /// The whole file.
  case file
  /// Lines up to the next blank line.
  case paragraph
}

/// The files that training records come from and how they are to be read.
public struct RecordSource: Sendable, Hashable {
  /// Files, folders (read recursively) or patterns with `*`, `?`, `[...]` and `**`.
  public var paths: [String]
  /// What the source is called in logs and statistics.
  public var name: String
  /// The layout of its records.
  public var format: DataFormat
  /// What becomes one record in `.txt` files.
  public var textUnit: TextUnit
  /// The most bytes that one record may take, and the window of a zstd file; plain `.txt` files that
  /// are not compressed are as large as they are.
  public var maximumRecordSize: Int

  /// 256 MiB: far more than a record for training has, and twice the largest window that zstd's
  /// program writes without options.
  public static let defaultMaximumRecordSize = 1 << 28

  /// Describes a source; without a name it is called after its first path.
  public init(
    paths: [String], name: String? = nil, format: DataFormat = .auto, textUnit: TextUnit = .file,
    maximumRecordSize: Int = defaultMaximumRecordSize
  ) {
    self.paths = paths
    self.name = name ?? paths.first ?? ""
    self.format = format
    self.textUnit = textUnit
    self.maximumRecordSize = maximumRecordSize
  }

  /// The data files that the paths stand for: in the order of the paths, sorted within each.
  ///
  /// - Throws: `DataReadError` for a path without data files or with files of an unsupported kind.
  public func files() throws(DataReadError) -> [String] {
    var files: [String] = []
    for path in paths { files += try FileFinder.files(at: path) }
    if files.isEmpty {
      throw DataReadError(.noFiles, "data source \"\(name)\" has no paths")
    }
    return files
  }
}
