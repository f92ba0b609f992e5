public import Torch
import XTunerNN

// Shape legend for this file:
//   R rows of this rank's tokens, in expert order   S rows for this rank's experts   D hidden
//   E experts   P ranks of the group

/// Moves rows between the ranks that have the experts.
///
/// The group's ranks are `expert x expertTensor`, adjacent ranks sharing experts: each row goes to
/// all ranks that have a part of its expert, and their partial results are summed where it came from.
/// Any count may be zero.
public final class ExpertExchange {
  /// Where the rows of one micro-batch and layer went, kept for the way back and for backward.
  public struct Route {
    /// Rows that go to each rank.
    let sent: [Int]
    /// Rows that come from each rank.
    let received: [Int]
    /// The received row of each row in expert order, `[S]` int64, and the inverse.
    let order: Tensor
    let inverse: Tensor
    /// The end of the rows of each expert of this rank, `[E / degree]` int64.
    let offsets: Tensor
  }

  private let queue: ExchangeQueue
  private let expertDegree: Int
  private let tensorDegree: Int
  private var group: ProcessGroup { queue.group }

  /// An exchange over the expert group of a mesh.
  public init(_ queue: ExchangeQueue, expertDegree: Int, tensorDegree: Int) {
    precondition(
      queue.group.size == expertDegree * tensorDegree,
      "\(queue.group.size) ranks for \(expertDegree) x \(tensorDegree)")
    self.queue = queue
    self.expertDegree = expertDegree
    self.tensorDegree = tensorDegree
  }

  /// A route that is being found out.
  public final class PendingRoute {
    var route: Route?
    /// The known route; to be read after the first exchange was waited for.
    public var known: Route {
      guard let route else { preconditionFailure("the route is read before the rows travelled") }
      return route
    }
    /// The end of the rows of each expert of this rank, once the rows have travelled.
    var offsetsIfKnown: Tensor? { route?.offsets }
    init() {}
  }

  /// Sends rows `[R, D]` to their experts; `[S, D]` in the order of this rank's experts.
  ///
  /// `countsE` are the rows of all experts. The route is new unless a `known` one is given.
  public func send(
    _ rows: Tensor, countsE: Tensor, known: PendingRoute?, label: String
  ) -> (rows: PendingTensors, route: PendingRoute) {
    let pending = known ?? PendingRoute()
    let result = queue.submit(label) { [self] in
      if let route = pending.route { return [try scatter(rows, route, label: label)] }
      let route = try makeRoute(countsE, label: label)
      pending.route = route
      // The experts read the offsets: a result like the rows.
      return [try scatter(rows, route, label: label), route.offsets]
    }
    return (result, pending)
  }

  /// Sends rows again the way they went: the gradient of ``collect(_:route:label:)``.
  public func resend(_ rows: Tensor, route: PendingRoute, label: String) -> PendingTensors {
    queue.submit(label) { [self] in [try scatter(rows, route.known, label: label)] }
  }

  /// Brings the rows of this rank's experts, `[S, D]`, back to their tokens' ranks; `[R, D]`.
  public func collect(_ rows: Tensor, route: PendingRoute, label: String) -> PendingTensors {
    queue.submit(label) { [self] in [try gatherBack(rows, route.known, label: label)] }
  }

  private func makeRoute(_ countsE: Tensor, label: String) throws -> Route {
    let counts = countsE.integers().map(Int.init)
    let share = counts.count / expertDegree
    // Each rank hears how many rows of each of its experts come.
    let sentCounts = (0..<group.size).flatMap { place -> ArraySlice<Int> in
      let first = place / tensorDegree * share
      return counts[first..<first + share]
    }
    let received = Tensor.empty([group.size * share], dtype: .int64)
    let splits = Array(repeating: share, count: group.size)
    try group.allToAll(
      into: received, from: Tensor(sentCounts.map(Int64.init)), outputCounts: splits,
      inputCounts: splits, label: "\(label) counts"
    ).wait(onHost: true)
    let table = received.integers().map(Int.init)
    let sentRows = (0..<group.size).map { place in
      sentCounts[place * share..<(place + 1) * share].reduce(0, +)
    }
    let receivedRows = (0..<group.size).map { place in
      table[place * share..<(place + 1) * share].reduce(0, +)
    }
    var starts: [Int] = []
    var start = 0
    for count in table {
      starts.append(start)
      start += count
    }
    var order: [Int64] = []
    order.reserveCapacity(start)
    var offsets: [Int64] = []
    for expert in 0..<share {
      for place in 0..<group.size {
        let entry = place * share + expert
        order.append(
          contentsOf: (starts[entry]..<starts[entry] + table[entry]).lazy.map(Int64.init))
      }
      offsets.append(Int64(order.count))
    }
    var inverse = [Int64](repeating: 0, count: order.count)
    for (row, source) in order.enumerated() { inverse[Int(source)] = Int64(row) }
    return Route(
      sent: sentRows, received: receivedRows, order: Tensor(order, device: countsE.device),
      inverse: Tensor(inverse, device: countsE.device),
      offsets: Tensor(offsets, device: countsE.device))
  }

  private func scatter(_ rows: Tensor, _ route: Route, label: String) throws -> Tensor {
    let width = rows.size(1)
    let outgoing = tensorDegree == 1 ? rows.contiguous() : repeated(rows, route)
    let incoming = Tensor.empty(
      [route.received.reduce(0, +), width], dtype: rows.dtype, device: rows.device)
    try group.allToAll(
      into: incoming, from: outgoing, outputCounts: route.received, inputCounts: route.sent,
      label: label
    ).wait()
    return incoming.selectingRows(dim: 0, index: route.order)
  }

  private func gatherBack(_ rows: Tensor, _ route: Route, label: String) throws -> Tensor {
    let outgoing = rows.selectingRows(dim: 0, index: route.inverse)
    let incoming = Tensor.empty(
      [route.sent.reduce(0, +), rows.size(1)], dtype: rows.dtype, device: rows.device)
    try group.allToAll(
      into: incoming, from: outgoing, outputCounts: route.sent, inputCounts: route.received,
      label: label
    ).wait()
    return tensorDegree == 1 ? incoming : summed(incoming, route)
  }

  /// Each expert rank's rows, once for every rank that has a part of its experts.
  private func repeated(_ rows: Tensor, _ route: Route) -> Tensor {
    var start = 0
    var parts: [Tensor] = []
    for place in stride(from: 0, to: group.size, by: tensorDegree) {
      let part = rows.narrowed(dim: 0, start: start, length: route.sent[place])
      parts.append(contentsOf: Array(repeating: part, count: tensorDegree))
      start += route.sent[place]
    }
    return Tensor.concatenated(parts, dim: 0)
  }

  /// The sum of the partial results, in float32 and rounded once.
  private func summed(_ rows: Tensor, _ route: Route) -> Tensor {
    var start = 0
    var parts: [Tensor] = []
    for place in stride(from: 0, to: group.size, by: tensorDegree) {
      let count = route.sent[place]
      let partial = rows.narrowed(dim: 0, start: start, length: count * tensorDegree)
        .view([tensorDegree, count, rows.size(1)])
      parts.append(partial.to(.float32).sum(dims: [0]).to(rows.dtype))
      start += count * tensorDegree
    }
    return Tensor.concatenated(parts, dim: 0)
  }
}
