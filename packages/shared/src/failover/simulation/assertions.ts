// What a run asserts, by the name that a failure carries. How each is checked is in run.ts.

export type Assertion =
  | 'two writers'
  | 'lower epoch'
  | 'needless failover'
  | 'unwanted failover'
  | 'healthy primary stopped'
  | 'failover too late'
  | 'not told to stop'
  | 'units beside'
  | 'nobody serves';
