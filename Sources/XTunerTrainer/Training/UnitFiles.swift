import Torch
import XTunerCheckpoint
import XTunerModels
import XTunerNN
import XTunerParallel
import XTunerText

/// Flat units as files of a run checkpoint: one file a rank and kind of tensor, one tensor a unit.
enum UnitFiles {
  /// A kind of tensor with the files that hold it.
  enum Kind: String, CaseIterable {
    case weights
    case firstMoments = "first_moments"
    case secondMoments = "second_moments"

    func fileName(rank: Int) -> String {
      let digits = String(rank)
      return "\(rawValue)-\(String(repeating: "0", count: max(5 - digits.count, 0)))\(digits)"
        + ".safetensors"
    }

    /// Whether a file of a checkpoint holds this kind.
    func isKind(ofFile name: String) -> Bool { name.hasPrefix("\(rawValue)-") }
  }

  /// A tensor with a unit's own elements.
  struct Part {
    /// The own elements of a parameter.
    struct Place {
      let slot: FlatUnit.Slot
      /// Counted in the unit.
      let own: Range<Int>
      /// Where they start in the tensor.
      let offset: Int
    }

    let unit: FlatUnit
    let kind: Kind
    let places: [Place]
    let elementCount: Int
    private let resting: RestingTensor

    init(unit: FlatUnit, kind: Kind, tensor: Tensor) {
      self.init(unit: unit, kind: kind, resting: RestingTensor(tensor, swap: nil))
    }

    /// A tensor that lies like the own part.
    init(unit: FlatUnit, kind: Kind, resting: RestingTensor) {
      self.unit = unit
      self.kind = kind
      self.resting = resting
      elementCount = unit.shardRange.count
      places = unit.slots.map { slot in
        let own = slot.range.clamped(to: unit.shardRange)
        return Place(slot: slot, own: own, offset: own.lowerBound - unit.shardRange.lowerBound)
      }
    }

    /// A tensor with the own elements of `slots` alone, one slot after another.
    init(unit: FlatUnit, kind: Kind, resting: RestingTensor, packing slots: [FlatUnit.Slot]) {
      self.unit = unit
      self.kind = kind
      self.resting = resting
      var places: [Place] = []
      var end = 0
      for slot in slots {
        let own = slot.range.clamped(to: unit.shardRange)
        places.append(Place(slot: slot, own: own, offset: end))
        end += own.count
      }
      self.places = places
      elementCount = end
    }

    /// Weights and moments have one dtype: float32, or bfloat16 in a unit without a master.
    var dataType: SafetensorsDataType { unit.weights.dtype == .bfloat16 ? .bfloat16 : .float32 }

    /// Reads or writes the tensor.
    func use<Result>(_ body: (Tensor) throws -> Result) rethrows -> Result {
      try resting.use(body)
    }
  }

  /// What this rank writes; ranks of other replicas write nothing, their parts are the same.
  static func contents(
    _ parts: [Part], mesh: ProcessMesh
  ) -> (files: [RunCheckpointContents.File], pieces: [RunCheckpointManifest.Piece]) {
    guard mesh.replicate.index == 0 else { return ([], []) }
    let kinds = Kind.allCases.filter { kind in parts.contains { $0.kind == kind } }
    let files = kinds.map { kind in
      RunCheckpointContents.File(
        name: kind.fileName(rank: mesh.rank),
        tensors: parts.filter { $0.kind == kind }.map { part in
          CheckpointTensor(
            entry: SafetensorsEntry(
              name: part.unit.name, dataType: part.dataType, shape: [part.elementCount]),
            bytes: part.use { HostBytes($0) })
        })
    }
    return (files, parts.flatMap { pieces($0, rank: mesh.rank) })
  }

  private static func pieces(_ part: Part, rank: Int) -> [RunCheckpointManifest.Piece] {
    let unit = part.unit
    return part.places.compactMap { place in
      let (slot, own) = (place.slot, place.own)
      guard !own.isEmpty else { return nil }
      return RunCheckpointManifest.Piece(
        unit: unit.name, parameter: slot.parameter.name, file: part.kind.fileName(rank: rank),
        tensor: unit.name, offset: place.offset, length: own.count,
        dataType: part.dataType, slice: slot.slice.isWhole ? nil : slot.slice,
        start: own.lowerBound - slot.offset)
    }
  }
}

extension UnitFiles {
  /// The update rule whose moments a checkpoint holds that does not name it.
  ///
  /// AdamW has second moments of every parameter, Muon of those that are no matrices.
  static func optimizer(ofMomentsIn checkpoint: RunCheckpoint) -> String {
    func parameters(_ kind: Kind) -> Set<ExactText> {
      Set<ExactText>(
        checkpoint.manifest.pieces.filter { kind.isKind(ofFile: $0.file) }.map(\.parameter))
    }
    let isComplete = parameters(.secondMoments) == parameters(.weights)
    return (isComplete ? OptimizerOptions.Name.adamw : .muon).rawValue
  }
}
