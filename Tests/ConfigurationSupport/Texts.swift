/// The smallest configuration that loads; tests add lines to it.
package let minimalYAML = """
  model:
    path: m
  data:
    train: a.jsonl
  training:
    steps: 7

  """
