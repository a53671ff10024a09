/* An IPv4 router of the kernel's by XDP: the kernel's own table is asked, link addresses and hop limit
 * are written, and the frame leaves by the port that the table names. What it cannot decide goes up.
 *
 *   clang -O2 -g -target bpf -c bench/forward_xdp.c -o forward_xdp.o
 *   ip link set dev r0 xdpdrv obj forward_xdp.o sec xdp
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2

SEC("xdp")
int forward(struct xdp_md *frame)
{
	void *data = (void *)(long)frame->data, *end = (void *)(long)frame->data_end;
	struct ethhdr *link = data;
	struct iphdr *ip = data + sizeof(*link);
	struct bpf_fib_lookup asked = { .family = AF_INET, .ifindex = frame->ingress_ifindex };
	__u32 sum;

	if ((void *)(ip + 1) > end || link->h_proto != bpf_htons(ETH_P_IP) || ip->ttl < 2)
		return XDP_PASS;
	asked.tos = ip->tos;
	asked.l4_protocol = ip->protocol;
	asked.tot_len = bpf_ntohs(ip->tot_len);
	asked.ipv4_src = ip->saddr;
	asked.ipv4_dst = ip->daddr;
	if (bpf_fib_lookup(frame, &asked, sizeof(asked), 0) != BPF_FIB_LKUP_RET_SUCCESS)
		return XDP_PASS;
	/* RFC 1624: the hop limit is one less. */
	sum = (__u32)ip->check + bpf_htons(0x0100);
	ip->check = (__u16)(sum + (sum >= 0xffff));
	ip->ttl--;
	__builtin_memcpy(link->h_dest, asked.dmac, ETH_ALEN);
	__builtin_memcpy(link->h_source, asked.smac, ETH_ALEN);
	return bpf_redirect(asked.ifindex, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
