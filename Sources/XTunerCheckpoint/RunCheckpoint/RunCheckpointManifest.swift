public import XTunerParallel

/// What a run checkpoint consists of: the file `manifest.json`, written last.
///
/// A folder whose manifest is absent, unreadable or at odds with the sizes of the files is not a
/// checkpoint.
public struct RunCheckpointManifest: Sendable, Hashable, Codable {
  /// The version this code writes.
  public static let currentFormatVersion = 3
  /// The versions it reads; in version 1 every piece is a whole parameter, and before version 3 neither
  /// a digest of the manifest nor the model's small files were there.
  public static let readableFormatVersions = 1...3
  static let fileName = "manifest.json"
  /// SHA-256 of the manifest and its name, as `sha256sum` writes and checks it.
  static let digestFileName = "manifest.sha256"
  static let stateFileName = "state.json"

  /// A file of the checkpoint.
  public struct File: Sendable, Hashable, Codable {
    /// Its name in the checkpoint's folder.
    public var name: String
    /// Its size.
    public var byteCount: Int
    /// SHA-256 of its content, in 64 hexadecimal digits.
    public var sha256: String
  }

  /// Where a piece of a parameter, or of an optimizer state, lies in the files.
  public struct Piece: Sendable, Hashable, Codable {
    /// The unit that is sharded as a whole, such as `layers.3`.
    public var unit: String
    /// The parameter's path, such as `layers.3.attention.query.weight`.
    public var parameter: String
    /// The file that holds the piece.
    public var file: String
    /// The tensor in the file.
    public var tensor: String
    /// Where the piece starts in the tensor, in elements.
    public var offset: Int
    /// How many elements it has.
    public var length: Int
    /// Element type of the tensor.
    public var dataType: SafetensorsDataType
    /// The part of the parameter that the piece is of; nil for the whole parameter.
    public var slice: ParameterSlice?
    /// Where the piece starts in that part, in elements of its row-major order; nil for 0.
    public var start: Int?

    /// The pieces of the whole parameter: `local` counts in the tensor's elements.
    public func runs(shape: [Int]) -> [ParameterSlice.Run] {
      let slice = slice ?? ParameterSlice(whole: shape)
      let start = start ?? 0
      guard start >= 0, length >= 0, length <= slice.localCount - start else { return [] }
      return slice.runs(in: start..<start + length).map { run in
        ParameterSlice.Run(
          local: run.local - start + offset, global: run.global, count: run.count)
      }
    }

    /// A piece from its parts.
    public init(
      unit: String, parameter: String, file: String, tensor: String, offset: Int, length: Int,
      dataType: SafetensorsDataType, slice: ParameterSlice? = nil, start: Int? = nil
    ) {
      self.unit = unit
      self.parameter = parameter
      self.file = file
      self.tensor = tensor
      self.offset = offset
      self.length = length
      self.dataType = dataType
      self.slice = slice
      self.start = start
    }
  }

  /// The version of this layout.
  public var formatVersion: Int
  /// Optimizer steps done when it was made.
  public var step: Int
  /// Hash of the run's configuration, which a resumed run compares with its own.
  public var configurationHash: String
  /// Versions of the engine and its libraries, by name.
  public var libraryVersions: [String: String]  // own names
  /// Every file but the manifest.
  public var files: [File]
  /// Every piece of every parameter and state.
  public var pieces: [Piece]
  /// Which of the files are those of a Hugging Face folder beside the weights; nil before version 3.
  public var modelFiles: [String]?
}

/// What one rank wrote of a checkpoint.
struct RunCheckpointPart: Codable {
  var files: [RunCheckpointManifest.File]
  var pieces: [RunCheckpointManifest.Piece]

  static func fileName(_ index: Int) -> String {
    let digits = String(index)
    return "part-\(String(repeating: "0", count: max(5 - digits.count, 0)))\(digits).json"
  }
}

/// What goes into a run checkpoint.
public struct RunCheckpointContents: Sendable {
  /// A safetensors file of the checkpoint.
  public struct File: Sendable {
    /// Its name, such as `weights-00000.safetensors`.
    public var name: String
    /// Its tensors.
    public var tensors: [CheckpointTensor]

    /// A file from its name and tensors.
    public init(name: String, tensors: [CheckpointTensor]) {
      self.name = name
      self.tensors = tensors
    }
  }

  /// Optimizer steps done.
  public var step: Int
  /// The tensors, by file.
  public var files: [File]
  /// Where each parameter and state lies in the files.
  public var pieces: [RunCheckpointManifest.Piece]
  /// JSON text of everything that is not a tensor: data position, generators, schedule.
  public var state: [UInt8]
  /// The files of a Hugging Face folder beside the weights, such as `config.json` and the tokenizer's,
  /// which whoever commits the checkpoint writes; they make it exportable by itself.
  public var modelFiles: [(name: String, bytes: [UInt8])] = []
  /// Hash of the run's configuration.
  public var configurationHash: String
  /// Versions of the engine and its libraries, by name.
  public var libraryVersions: [String: String]  // own names

  /// Contents whose state is any encodable value.
  ///
  /// Every finite double and every 64-bit integer reads back exactly.
  public init(
    step: Int, files: [File], pieces: [RunCheckpointManifest.Piece], state: some Encodable,
    configurationHash: String, libraryVersions: [String: String]  // own names
  ) throws {
    self.step = step
    self.files = files
    self.pieces = pieces
    self.state = try RunCheckpointJSON.encode(state)
    self.configurationHash = configurationHash
    self.libraryVersions = libraryVersions
  }
}
