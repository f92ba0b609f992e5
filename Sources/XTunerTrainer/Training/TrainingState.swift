import Torch
import XTunerCheckpoint
import XTunerData
import XTunerNN
import XTunerParallel

/// Everything but tensors that a resumed run needs.
struct TrainingState: Codable, Sendable {
  /// Optimizer steps done, skipped ones included.
  var step: Int
  /// Updates done: the optimizer's own count.
  var updateCount: Int
  /// Updates that were skipped since the start.
  var skippedCount: Int
  /// Where the data stands.
  var loader: LoaderState
  /// Whether the optimizer's moments are in the checkpoint.
  var hasMoments: Bool
}

/// The bytes of a tensor, copied at once so that a background thread can write them.
final class HostBytes: TensorBytes {
  // The memory is written in the initialiser only, then read by one thread.
  nonisolated(unsafe) private let memory: UnsafeMutableRawBufferPointer

  init(_ tensor: Tensor) {
    memory = .allocate(byteCount: tensor.byteCount, alignment: 64)
    tensor.copyBytes(to: memory)
  }

  deinit {
    memory.deallocate()
  }

  var byteCount: Int { memory.count }

  func withBytes(_ body: (UnsafeRawBufferPointer) throws -> Void) throws {
    try body(UnsafeRawBufferPointer(memory))
  }
}

/// Flat units as files of a run checkpoint: one file a kind of tensor, one tensor a unit.
enum UnitFiles {
  /// A kind of tensor with the file that holds it.
  enum Kind: String, CaseIterable {
    case weights
    case firstMoments = "first_moments"
    case secondMoments = "second_moments"

    var fileName: String { "\(rawValue)-00000.safetensors" }

    func tensor(of moments: AdamW.Moments) -> Tensor {
      switch self {
      case .weights:
        guard let master = moments.unit.master else {
          preconditionFailure("\(moments.unit.name) was made for inference")
        }
        return master
      case .firstMoments: return moments.first
      case .secondMoments: return moments.second
      }
    }
  }

  static func contents(
    _ optimizer: AdamW, includesMoments: Bool
  ) -> (files: [RunCheckpointContents.File], pieces: [RunCheckpointManifest.Piece]) {
    let kinds = includesMoments ? Kind.allCases : [.weights]
    let files = kinds.map { kind in
      RunCheckpointContents.File(
        name: kind.fileName,
        tensors: optimizer.moments.map { moments in
          CheckpointTensor(
            entry: SafetensorsEntry(
              name: moments.unit.name, dataType: .float32, shape: [moments.unit.elementCount]),
            bytes: HostBytes(kind.tensor(of: moments)))
        })
    }
    let pieces = kinds.flatMap { kind in
      optimizer.moments.flatMap { moments in
        moments.unit.slots.map { slot in
          RunCheckpointManifest.Piece(
            unit: moments.unit.name, parameter: slot.parameter.name, file: kind.fileName,
            tensor: moments.unit.name, offset: slot.offset, length: slot.parameter.elementCount,
            dataType: .float32)
        }
      }
    }
    return (files, pieces)
  }

  /// Copies a checkpoint's tensors into the units; every parameter must be there in full.
  static func load(
    _ checkpoint: RunCheckpoint, into optimizer: AdamW, includesMoments: Bool
  ) throws {
    let kinds = includesMoments ? Kind.allCases : [.weights]
    for kind in kinds {
      try copy(
        kind, of: checkpoint,
        into: optimizer.moments.map { (unit: $0.unit, tensor: kind.tensor(of: $0)) })
    }
    for moments in optimizer.moments { moments.unit.publish() }
  }

  /// Copies a checkpoint's weights into float32 units without an optimizer.
  static func loadWeights(_ checkpoint: RunCheckpoint, into units: [FlatUnit]) throws {
    try copy(.weights, of: checkpoint, into: units.map { (unit: $0, tensor: $0.compute) })
  }

  private static func copy(
    _ kind: Kind, of checkpoint: RunCheckpoint, into targets: [(unit: FlatUnit, tensor: Tensor)]
  ) throws {
    let file = try checkpoint.open(kind.fileName)
    let pieces = checkpoint.manifest.pieces.filter { $0.file == kind.fileName }
    let pieceOf = Dictionary(pieces.map { ($0.parameter, $0) }) { first, _ in first }
    for target in targets {
      for slot in target.unit.slots {
        let name = slot.parameter.name
        guard let piece = pieceOf[name], piece.length == slot.parameter.elementCount else {
          throw TrainingError(
            .model,
            """
            \(checkpoint.path): \(kind.fileName) has \(pieceOf[name]?.length ?? 0) elements of \
            \(name), the model has \(slot.parameter.elementCount); the checkpoint is of another \
            model
            """)
        }
        let source = try file.tensor(piece.tensor)
          .narrowed(dim: 0, start: piece.offset, length: piece.length)
        withoutGradients {
          target.tensor.narrowed(dim: 0, start: slot.offset, length: piece.length)
            .copy(from: source)
        }
      }
    }
  }
}
