// Failover on the control streams: its messages as bytes of the wire, and each host's list of applications.
//
// Tested in recovery/failover/failover.db.test.ts.

import { applicationToWire, encodeFailover } from '@holdfast/shared/rpc/failover-wire';
import { ApplicationList } from '@holdfast/shared/rpc/gen/holdfast/v1/failover';

import type { ControlHub, FailoverDesk } from '../fleet/control-hub.ts';
import type { FailoverLink } from '../recovery/contract.ts';
import type { HostFailover } from '../recovery/failover/failover.ts';

/** To hosts with a stream at this replica. */
export function failoverLink(hub: Pick<ControlHub, 'sendFailover'>): FailoverLink {
  return {
    send: (hostId, planId, message) => hub.sendFailover(hostId, encodeFailover(planId, message)),
  };
}

export function failoverDesk(failover: Pick<HostFailover, 'applications' | 'heard'>): FailoverDesk {
  return {
    heard: (hostId, application, message) => failover.heard(hostId, application, message),
    async applications(hostId) {
      const { specs, removed } = await failover.applications(hostId);
      const list = { applications: specs.map(applicationToWire), removed: [...removed] };
      return Buffer.from(ApplicationList.encode(list).finish());
    },
  };
}
