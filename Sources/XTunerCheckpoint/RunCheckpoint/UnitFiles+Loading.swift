import Torch
import XTunerNN
import XTunerParallel
import XTunerText

extension UnitFiles {
  /// Elements of a parameter's weights in a checkpoint.
  package static func elementCount(of parameter: String, in checkpoint: RunCheckpoint) -> Int {
    checkpoint.manifest.pieces
      .filter { $0.parameter.isExactly(parameter) && Kind.weights.isKind(ofFile: $0.file) }
      .reduce(0) { $0 + $1.length }
  }

  /// Copies what this rank keeps out of a checkpoint of any number of ranks and any mesh.
  ///
  /// - Throws: `CheckpointError` where a parameter is not there in full, where the pieces contradict one
  ///   another or their files, or where a value is not finite.
  package static func load(_ checkpoint: RunCheckpoint, into parts: [Part]) throws {
    var source = CheckpointSource(checkpoint: checkpoint)
    for kind in Kind.allCases {
      let wanted = parts.filter { $0.kind == kind }
      guard !wanted.isEmpty else { continue }
      let pieces = Dictionary(
        grouping: checkpoint.manifest.pieces.filter { kind.isKind(ofFile: $0.file) },
        by: { ExactText($0.parameter) })
      for part in wanted {
        try part.use { target in
          for place in part.places {
            let found = pieces[place.slot.parameter.name] ?? []
            try source.check(found, of: place.slot.parameter, in: part.unit, kind)
            try source.copy(found, of: place, part, to: target)
          }
        }
      }
    }
  }
}

/// A checkpoint's files as they are read, each opened once.
private struct CheckpointSource {
  let checkpoint: RunCheckpoint
  private var opened: [ExactText: SafetensorsFile] = [:]

  init(checkpoint: RunCheckpoint) { self.checkpoint = checkpoint }

  /// Checks that pieces are those of this parameter and make the whole of it, each element once.
  func check(
    _ pieces: [RunCheckpointManifest.Piece], of parameter: Parameter, in unit: FlatUnit,
    _ kind: UnitFiles.Kind
  ) throws {
    let expected = parameter.elementCount
    let isOfOtherShape = pieces.contains { piece in
      piece.slice.map { $0.shape.reduce(1, *) != expected } ?? false
    }
    let runs = isOfOtherShape ? [] : pieces.flatMap { $0.runs(shape: parameter.shape) }
    let count = isOfOtherShape ? pieces.reduce(0) { $0 + $1.length } : runs.elementCount
    guard count == expected && !isOfOtherShape else {
      throw CheckpointError(
        .mismatch, path: checkpoint.path,
        """
        has \(count) elements of the \(kind.rawValue) of \
        \(parameter.name), the model has \(expected); the checkpoint is of another \
        model\(kind == .weights ? "" : ", or was written with another optimizer.name")
        """)
    }
    func damaged(_ reason: String) -> CheckpointError {
      CheckpointError(
        .damaged, path: checkpoint.path, "the \(kind.rawValue) of \(parameter.name) \(reason)")
    }
    let block = Self.block(ofUnit: unit.name)
    if let stray = pieces.first(where: { Self.block(ofUnit: $0.unit) != block }) {
      throw damaged("are in the unit \(stray.unit) of \(stray.file), and belong to \(block)")
    }
    var end = 0
    for run in runs.sorted(by: { $0.global < $1.global }) {
      guard run.global == end else {
        throw damaged(
          run.global < end
            ? "are there twice from element \(run.global) on"
            : "are missing from element \(end) to \(run.global)")
      }
      end += run.count
    }
  }

  /// A unit's block: `layers.3` of `layers.3.experts.float8`.
  private static func block(ofUnit name: String) -> String {
    var name = name
    for suffix in [".float8", ".experts", ".float32"] where name.hasSuffix(suffix) {
      name.removeLast(suffix.count)
    }
    return name
  }

  /// Copies the part's own elements of a parameter out of its pieces.
  mutating func copy(
    _ pieces: [RunCheckpointManifest.Piece], of place: UnitFiles.Part.Place,
    _ part: UnitFiles.Part, to tensor: Tensor
  ) throws {
    let parameter = place.slot.parameter
    let own = part.unit.ownRuns(of: parameter)
    // Runs count in the own part.
    let shift = place.offset - (place.own.lowerBound - part.unit.shardRange.lowerBound)
    for piece in pieces {
      for run in piece.runs(shape: parameter.shape) {
        let wanted = own.clamped(toGlobal: run.global..<run.global + run.count)
        guard !wanted.isEmpty else { continue }
        let source = try source(of: piece)
        for target in wanted {
          let values = source.narrowed(
            dim: 0, start: run.local + target.global - run.global, length: target.count)
          guard withoutGradients({ values.hasOnlyFiniteElements() }) else {
            throw CheckpointError(
              .damaged, path: "\(checkpoint.path)/\(piece.file)",
              """
              the \(part.kind.rawValue) of \(parameter.name) hold a NaN or an infinity; go on from an \
              earlier checkpoint with --resume
              """)
          }
          withoutGradients {
            tensor.narrowed(dim: 0, start: target.local + shift, length: target.count)
              .copy(from: values)
          }
        }
      }
    }
  }

  /// The tensor that a piece lies in, as the manifest describes it.
  private mutating func source(of piece: RunCheckpointManifest.Piece) throws -> Tensor {
    let file = try opened[piece.file] ?? checkpoint.open(piece.file)
    opened[piece.file] = file
    let (dataType, shape, _) = try file.entry(piece.tensor)
    guard [.float32, .bfloat16].contains(dataType), dataType == piece.dataType else {
      throw CheckpointError(
        .damaged, path: file.path,
        """
        tensor \(piece.tensor) of \(piece.parameter) is \(dataType.rawValue), the manifest says \
        \(piece.dataType.rawValue); weights and moments are F32 or BF16
        """)
    }
    guard shape.count == 1, piece.length <= shape[0] - piece.offset else {
      throw CheckpointError(
        .damaged, path: file.path,
        "\(piece.parameter): \(piece.length) elements from \(piece.offset) on are not in tensor "
          + "\(piece.tensor) of \(shape)")
    }
    return try file.tensor(piece.tensor)
  }
}

extension [ParameterSlice.Run] {
  /// Elements of all runs.
  fileprivate var elementCount: Int { reduce(0) { $0 + $1.count } }
}
