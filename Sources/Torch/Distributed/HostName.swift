import Foundation

/// Names of machines.
enum HostName {
  /// Why a name or address means no machine; nil where it does.
  ///
  /// A name may come up with its machine, as in a cluster that is just being started, so it is asked for
  /// until the time is over. A resolver without a name server may take longer than that for one answer,
  /// so it is asked on a thread of its own.
  static func problem(_ host: String, within limit: Duration) -> String? {
    let deadline = ContinuousClock.now + limit
    var problem = "its name server does not answer"
    while true {
      let answer = Answer<Int32>()
      Thread.detachNewThread { answer.set(resolve(host)) }
      let remaining = max(.milliseconds(1), ContinuousClock.now.duration(to: deadline))
      guard let code = answer.wait(for: remaining) else { return problem }
      if code == 0 { return nil }
      problem = String(cString: gai_strerror(code))
      let pause = min(.milliseconds(200), ContinuousClock.now.duration(to: deadline))
      guard pause > .zero else { return problem }
      Thread.sleep(forTimeInterval: pause / .seconds(1))
    }
  }

  private static func resolve(_ host: String) -> Int32 {
    var addresses: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(host, nil, nil, &addresses)
    if let addresses { freeaddrinfo(addresses) }
    return code
  }
}
