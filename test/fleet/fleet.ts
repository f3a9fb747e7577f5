// A disposable fleet: a controller and agents as separate processes over mTLS, with all their state below one directory.
// The demo, the end-to-end tests, the benches and newcomers stand on it.
//
// Hazard: a test bed that leaves processes behind, or ends somebody else's. Every process is recorded with its pid and start
// time before anything is asked of it, and only a process that still has both is ever signalled (processes.ts).
//
// Invariants (fleet.test.ts):
//   F1 `up` returns when every named host is online; after `down`, or SIGKILL of everything, `up` goes on with the same state;
//   F2 `down` leaves no process, also when the fleet is half up or its controller died without its PostgreSQL.

export interface FleetOptions {
  /** Absolute directory; made when missing. */
  readonly dir: string;
  /** Hosts that must be online in the end; those that the fleet has already come back as well. */
  readonly hosts: readonly string[];
  /** Told what goes on, one line at a time. */
  readonly say?: (line: string) => void;
}

export interface Fleet {
  readonly dir: string;
  /** "127.0.0.1:PORT" */
  readonly address: string;
  readonly hosts: readonly string[];
}

export interface FleetProcess {
  /** A host's name, or `controller`. */
  readonly name: string;
  /** Unset when it does not run. */
  readonly pid: number | undefined;
}

export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Brings the fleet up and returns when every host is online. Throws with the end of the log of what did not come up. */
export declare function fleetUp(options: FleetOptions): Promise<Fleet>;
/** Ends every process of the fleet; the state stays. Returns the names of those that ran. */
export declare function fleetDown(dir: string): Promise<string[]>;
export declare function fleetStatus(dir: string): Promise<FleetProcess[]>;
/** SIGKILL to one process (`controller` or a host). The controller's PostgreSQL lives on, as it would in the field. */
export declare function fleetKill(dir: string, name: string): Promise<void>;
/** Starts one process again; returns when it is ready (controller) or online (host). */
export declare function fleetStart(dir: string, name: string): Promise<void>;
/** Runs `holdfast` logged in to the fleet. Never throws on a failing command: look at `code`. */
export declare function holdfast(dir: string, args: readonly string[], input?: string): Promise<CliResult>;
