// A drill's sandbox: where the steps of a drill run on the standby as if they were real, with no way out.
//
// It is a machine of its own on this one's kernel: its own network (loopback alone), processes, mounts, names and queues. Its root file system
// is this host's, read through a layer that takes every write; devices, /run, /tmp and the agent's own directory are not this host's. It ends
// with the agent: when that dies, everything inside is killed by the kernel, and the next start of the agent removes what lay on the disk.
//
// Here is what the steps and restores of a drill see of it. sandboxes.ts opens and removes them, sandbox-init.ts lays them out.

import type { ProgramResult, ProgramRun } from '../../jobs/program.ts';
import type { Account } from '../../os/account.ts';

export interface SandboxOrder {
  /** The run's id. */
  readonly name: string;
  /** The plan's id. */
  readonly application: string;
  /** Removed by itself after that, whatever runs inside. */
  readonly ttlMs: number;
  /** Put on the loopback device inside, so that checks of this host's own and of the service's address work unchanged: 10.77.0.12, 10.77.0.100/24 */
  readonly addresses: readonly string[];
}

export interface InsideOptions {
  /** As whom; without it, as root. */
  readonly account?: Account;
  /** Where, as seen inside; without it, /. */
  readonly directory?: string;
}

export interface Sandbox {
  readonly name: string;
  /** As this agent numbers it, of the process that everything inside descends from: while it lives the sandbox does. */
  readonly initPid: number;
  /**
   * The command that runs `command` inside when it is run here. Environment and standard streams are passed on; the process group of what is
   * started is the caller's child's, so that ending that group ends the program. What it leaves in the background belongs to the sandbox.
   * Throws FAILED_PRECONDITION when the sandbox has ended.
   */
  wrap(command: readonly string[], options?: InsideOptions): readonly string[];
  /** Runs a program inside to its end. Throws as `wrap` does, and what `onOutput` throws. */
  run(run: ProgramRun, signal: AbortSignal, options?: InsideOptions): Promise<ProgramResult>;
  /**
   * A path by which this agent reaches what the sandbox sees at `inside` (absolute). Links on the way are followed inside, and every missing
   * directory but the last component is made there. Throws INVALID_ARGUMENT, FAILED_PRECONDITION.
   */
  hostPath(inside: string): string;
  /**
   * Puts an empty directory of the sandbox's own at `target` (absolute, as seen inside), in place of what is there, and gives its path for
   * this agent to write to. The same target a second time gives the same directory, with what is in it.
   */
  place(target: string): Promise<string>;
}

/** What is left when a sandbox was removed; empty: nothing. */
export interface Removal {
  readonly left: readonly string[];
}

export interface Sandboxes {
  /**
   * Opens a sandbox, or gives the open one of that name. Throws FAILED_PRECONDITION, with what is missing, where this host can't make one: then
   * there is no drill here; BUSY when SANDBOXES_MAX are open.
   */
  open(order: SandboxOrder): Promise<Sandbox>;
  /** Throws NOT_FOUND when none of that name is open. */
  get(name: string): Sandbox;
  /** Ends everything in it, removes it, and looks whether it is gone. Of one that is not there: whether something is left of it. */
  close(name: string): Promise<Removal>;
  /** Removes all, as the agent stops. */
  stop(): Promise<void>;
}
