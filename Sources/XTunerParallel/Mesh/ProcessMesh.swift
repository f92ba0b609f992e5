public import Torch

/// The process groups of a layout, as one rank sees them.
///
/// Groups of one rank have no connections, so a single process has a mesh too. Confined to the
/// thread that uses it, like its groups.
public final class ProcessMesh {
  /// How the ranks are laid out.
  public let layout: ParallelLayout
  /// This rank.
  public let rank: Int
  /// The device that this rank computes on.
  public let device: Device
  /// All ranks.
  public let world: ProcessGroup
  /// Ranks that share dense parameters.
  public let shard: ProcessGroup
  /// Ranks with the same part of all parameters.
  public let replicate: ProcessGroup
  /// Ranks that have different experts, or parts of them; rows travel among them.
  public let expert: ProcessGroup
  /// Ranks that share the same experts.
  public let expertShard: ProcessGroup
  /// Ranks that share the tokens of one pack.
  public let sequence: ProcessGroup

  /// Connects the groups of `layout`; every rank makes its mesh at the same time.
  ///
  /// `flightRecordPath` is where the last operations on the device are written when one fails.
  ///
  /// - Throws: `CommunicationError` where a rank does not come within the time-out.
  public init(
    _ layout: ParallelLayout, rank: Int, store: Store, timeout: Duration, device: Device = .cpu,
    flightRecordPath: String? = nil
  ) throws(CommunicationError) {
    let companions = DeviceGroups(flightRecordPath: flightRecordPath)
    func group(_ name: String, _ ranks: [Int]) throws(CommunicationError) -> ProcessGroup {
      try ProcessGroup(
        name: name, ranks: ranks, rank: rank, store: store, timeout: timeout, device: device,
        companions: companions)
    }
    self.device = device
    self.layout = layout
    self.rank = rank
    world = try group("world", Array(0..<layout.worldSize))
    shard = try group("shard", layout.shardRanks(of: rank))
    replicate = try group("replicate", layout.replicateRanks(of: rank))
    expert = try group("expert", layout.expertRanks(of: rank))
    expertShard = try group("expertShard", layout.expertShardRanks(of: rank))
    sequence = try group("sequence", layout.sequenceRanks(of: rank))
  }

  /// The mesh of a process that is alone.
  public init(device: Device = .cpu) {
    self.device = device
    layout = .single
    rank = 0
    world = .single(name: "world")
    shard = .single(name: "shard")
    replicate = .single(name: "replicate")
    expert = .single(name: "expert")
    expertShard = .single(name: "expertShard")
    sequence = .single(name: "sequence")
  }

  /// This rank's place among the ranks that read different data.
  public var dataRank: Int { rank / layout.sequence }
  /// Ranks that read different data.
  public var dataRankCount: Int { layout.worldSize / layout.sequence }

  /// This rank's place along the expert axis.
  public var expertIndex: Int { expert.index / layout.expertTensor }
  /// This rank's place along the expert tensor axis.
  public var expertTensorIndex: Int { expert.index % layout.expertTensor }

  /// Ends groups of devices in good order, after the last operation; every rank calls it.
  public func shutDown() { for group in groups { group.shutDown() } }

  /// All groups with more than one rank, by name; for tests that slow them down.
  public var groups: [ProcessGroup] {
    [world, shard, replicate, expert, expertShard, sequence].filter { $0.size > 1 }
  }
}
