// What an application's host (application-host.ts) stands on: its disk, its kernel, its units, and the ways to the others.

import type { FailoverMessage, HostId } from '@holdfast/shared/failover/messages';
import { FAILOVER_TIMING, type FailoverTiming } from '@holdfast/shared/failover/timing';
import type { ApplicationSpec } from '@holdfast/shared/rpc/failover-wire';
import type { KernelGate } from './kernel-gate.ts';
import type { ProtectedUnits } from './protected-units.ts';
import type { RecordFiles } from './record-file.ts';

export interface ApplicationPorts {
  readonly host: HostId;
  readonly bootId: string;
  /** Milliseconds since the boot (os/boot-clock.ts). */
  readonly nowMs: () => number;
  readonly files: RecordFiles;
  readonly gate: (spec: ApplicationSpec) => KernelGate;
  readonly units: (spec: ApplicationSpec) => ProtectedUnits;
  readonly addresses: {
    hold(spec: ApplicationSpec, forMs: number): Promise<void>;
    drop(spec: ApplicationSpec): Promise<void>;
    /** Somebody else answers for one of them. */
    taken(spec: ApplicationSpec): Promise<boolean>;
  };
  /** Why this host's kernel can't enforce a lease; undefined when it can. */
  readonly kernelTrouble: (spec: ApplicationSpec) => Promise<string | undefined>;
  readonly toController: (message: FailoverMessage) => void;
  readonly toPeer: (message: FailoverMessage) => void;
  readonly log: (event: string, fields: Record<string, unknown>) => void;
}

/** What this application is told to keep to. */
export function timingOf(spec: ApplicationSpec): FailoverTiming {
  const { renewMs, leaseMs, marginMs, suspectAfterMs, outOfReachMs, bootAskMs } = spec;
  return { ...FAILOVER_TIMING, renewMs, leaseMs, marginMs, suspectAfterMs, outOfReachMs, bootAskMs };
}
