import Torch
import XTunerMoE
public import XTunerNN

/// The exchanges of one rank: what travels after which stages, and how.
///
/// A travel whose group has one rank is none at all.
public final class StageExchanges {
  private let experts: ExpertExchange?
  private let sequence: SequenceExchange?

  let instruments: Instruments

  /// The exchanges of a mesh, each group on a thread of its own.
  public init(_ mesh: ProcessMesh, instruments: Instruments = Instruments()) {
    self.instruments = instruments
    experts =
      mesh.expert.size > 1
      ? ExpertExchange(
        ExchangeQueue(mesh.expert, device: mesh.device, instruments: instruments),
        expertDegree: mesh.layout.expert,
        tensorDegree: mesh.layout.expertTensor) : nil
    sequence =
      mesh.sequence.size > 1
      ? SequenceExchange(
        ExchangeQueue(mesh.sequence, device: mesh.device, instruments: instruments)) : nil
  }

  /// No exchange: one rank.
  public init() {
    instruments = Instruments()
    experts = nil
    sequence = nil
  }

  /// Whether values travel to other ranks after such a stage.
  public func isActive(_ travel: Stage.Travel) -> Bool {
    switch travel {
    case .none: false
    case .toExperts, .fromExperts: experts != nil
    case .toHeads, .toTokens: sequence != nil
    }
  }

  /// What one micro-batch's journey in one block needs to know.
  struct Journey {
    var label: String
    var record: BlockRecord
    /// Tokens of the whole pack.
    var tokenCount: Int
    /// Where the rows went; known after the first dispatch.
    var route: ExpertExchange.PendingRoute?
    /// Key-value heads of all ranks.
    var keyValueHeadCount = 0
  }

  /// Sends a stage's outputs.
  func depart(
    _ travel: Stage.Travel, _ outputs: [Tensor], _ journey: inout Journey
  ) -> PendingTensors {
    switch travel {
    case .toExperts:
      guard let experts, let routing = journey.record[RoutingRecord.self] else {
        return PendingTensors(outputs)
      }
      let sent = experts.send(
        outputs[0], countsE: routing.countsE, known: journey.route,
        label: "\(journey.label) dispatch")
      journey.route = sent.route
      return sent.rows
    case .fromExperts:
      guard let experts, let route = journey.route else { return PendingTensors(outputs) }
      return experts.collect(outputs[0], route: route, label: "\(journey.label) combine")
    case .toHeads:
      guard let sequence else { return PendingTensors(outputs) }
      journey.keyValueHeadCount = outputs[1].size(1)
      return sequence.toHeads(
        outputs, tokenCount: journey.tokenCount, label: "\(journey.label) heads")
    case .toTokens:
      guard let sequence else { return PendingTensors(outputs) }
      return sequence.toTokens(outputs[0], label: "\(journey.label) tokens")
    case .none: return PendingTensors(outputs)
    }
  }

  /// Sends the gradients of what arrived back to where it came from.
  func goBack(
    _ travel: Stage.Travel, _ gradients: [Tensor], _ journey: Journey
  ) -> PendingTensors {
    switch travel {
    case .toExperts:
      guard let experts, let route = journey.route else { return PendingTensors(gradients) }
      return experts.collect(
        gradients[0], route: route, label: "\(journey.label) dispatch gradient")
    case .fromExperts:
      guard let experts, let route = journey.route else { return PendingTensors(gradients) }
      return experts.resend(gradients[0], route: route, label: "\(journey.label) combine gradient")
    case .toHeads:
      guard let sequence else { return PendingTensors(gradients) }
      return sequence.toHeadsBackward(
        gradients, keyValueHeadCount: journey.keyValueHeadCount,
        label: "\(journey.label) heads gradient")
    case .toTokens:
      guard let sequence else { return PendingTensors(gradients) }
      return sequence.toTokensBackward(
        gradients[0], tokenCount: journey.tokenCount, label: "\(journey.label) tokens gradient")
    case .none: return PendingTensors(gradients)
    }
  }
}
