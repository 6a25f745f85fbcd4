// The hypercall table: each entry decodes its six words with the one generated decoder, then calls
// the handler.
#include "kernel/core/caps.hpp"
#include "kernel/core/devices.hpp"
#include "kernel/core/domains.hpp"
#include "kernel/core/frames.hpp"
#include "kernel/core/hypercall_entry.hpp"
#include "kernel/core/ipc.hpp"
#include "kernel/core/notify.hpp"
#include "kernel/core/page_tables.hpp"
#include "kernel/core/reclaim.hpp"
#include "kernel/core/sched.hpp"
#include "kernel/core/shell.hpp"
#include "kernel/core/threads.hpp"
#include "kernel/core/vcpu.hpp"

namespace horos::core {

Caller caller() { return fast_caller(); }

u64 refuse_halted(Frame thread) {
    set_values(thread, Error::again, {});
    return result_switch;
}

// A call that woke somebody more urgent returns through the scheduler.
u64 finish(const Caller& me, u64 result) {
    if (cores[me.core].reschedule == 0 || (result & result_switch) != 0)
        return result;
    const Error error = static_cast<Error>(result & result_error);
    set_values(me.thread, error, (result & result_values) != 0 ? results[me.core] : Values{});
    return result_switch;
}

static u64 null_entry(u64, u64, u64, u64, u64, u64) { return 0; }

extern "C" u64 hypercall_unknown(u64, u64, u64, u64, u64, u64) { return word(Error::bad_call); }

extern "C" const HypercallEntry hypercall_table[] = {
    null_entry,
    entry<FrameInfoArgs, frame_info>,
    entry<BlockSplitArgs, block_split>,
    entry<FrameGiveArgs, frame_give>,
    entry<BlockGiveArgs, block_give>,
    entry<FrameReclaimArgs, frame_reclaim>,
    entry<BlockReclaimArgs, block_reclaim>,
    entry<FrameShareArgs, frame_share>,
    entry<BlockShareArgs, block_share>,
    entry<CapInfoArgs, cap_info>,
    entry<CapMintArgs, cap_mint>,
    entry<CapMoveArgs, cap_move>,
    entry<CapDeleteArgs, cap_delete>,
    entry<CapRevokeArgs, cap_revoke>,
    entry<CapGiveArgs, cap_give>,
    entry<CapTakeArgs, cap_take>,
    entry<DomainCreateArgs, domain_create>,
    entry<DomainAddTableArgs, domain_add_table>,
    entry<SpaceCreateArgs, space_create>,
    entry<TableMapArgs, table_map>,
    entry<TableUnmapArgs, table_unmap>,
    entry<MapFrameArgs, map_frame>,
    entry<MapBlockArgs, map_block>,
    entry<MapSharedArgs, map_shared>,
    entry<MapMmioArgs, map_mmio>,
    entry<UnmapArgs, unmap>,
    entry<ThreadCreateArgs, thread_create>,
    entry<ThreadStartArgs, thread_start>,
    entry<ThreadStopArgs, thread_stop>,
    entry<ThreadResumeArgs, thread_resume>,
    entry<ThreadMonitorArgs, thread_monitor>,
    entry<ThreadInfoArgs, thread_info>,
    entry<ThreadBindArgs, thread_bind>,
    entry<ThreadExitArgs, thread_exit>,
    entry<ScCreateArgs, sc_create>,
    entry<ScBindArgs, sc_bind>,
    entry<CoreWindowArgs, core_window>,
    entry<CoreScheduleArgs, core_schedule>,
    entry<EndpointCreateArgs, endpoint_create>,
    call_entry,
    entry<ReceiveArgs, receive>,
    entry<ReplyArgs, reply>,
    reply_receive_entry,
    entry<NotificationCreateArgs, notification_create>,
    signal_entry,
    wait_entry,
    entry<IrqCreateArgs, irq_create>,
    entry<MsiCreateArgs, msi_create>,
    entry<IrqBindArgs, irq_bind>,
    entry<IrqAckArgs, irq_ack>,
    entry<PortsCreateArgs, ports_create>,
    entry<PortInArgs, port_in>,
    entry<PortOutArgs, port_out>,
    entry<MmioCreateArgs, mmio_create>,
    entry<VcpuCreateArgs, vcpu_create>,
    vcpu_run_entry,
    entry<SpaceIoMapArgs, space_io_map>,
    entry<SpaceMsrMapArgs, space_msr_map>,
    entry<GuestPortArgs, guest_port>,
    entry<GuestMsrArgs, guest_msr>,
    entry<PlatformControlArgs, platform_control>,
    entry<LogArgs, log>,
};
extern "C" const u32 hypercall_count = sizeof(hypercall_table) / sizeof(hypercall_table[0]);
static_assert(sizeof(hypercall_table) / sizeof(hypercall_table[0]) == call_count);

} // namespace horos::core
