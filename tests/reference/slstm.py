"""sLSTM, the LSTM with exponential gates and scalar memory, of

Beck, Poeppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter & Hochreiter, xLSTM: Extended Long Short-Term
Memory, NeurIPS 2024, https://arxiv.org/abs/2405.04517, appendix A.2, eq. (34) to (40), stabilised by (15) to (17) of
section 2.2. Numbers and equations are from the paper's text (a stored conversion of its PDF).
Letters: input gate i, forget gate f, cell input z, output gate o, tilde before their activation; c, n, h, stabiliser m.
R is block-diagonal, one block a head: a head's h reaches that head's gates only.
n has no lower bound: max{., 1} is the mLSTM's (21). h depends on c exp(m) and n exp(m) only, not on m (52 to 58).
Left open: the states to start from. The authors' code (NX-AI/xlstm) starts all four at 0 and sets m = i_tilde while n
is 0 in place of (15), which is what (15) gives for m = -inf. From m = 0 and c = n = 0, (15) gives the same h with c and
n at another scale, unless i_tilde is so low that n underflows to 0.
Their code has the sigmoid forget gate only; FlashRNN, their later library, has n >= 1 in its PyTorch and Triton cells.
Differs: no convolution before i and f, no GroupNorm after h (both outside the cell); W is dense, in the paper's block
it has one block a head. use_bias=False (b = 0) is not the paper's.
"""

import numpy as np

CASES = [{}, {"num_heads": 2}, {"exponential_forget": True}, {"num_heads": 3, "use_bias": False}]


def log_sigma(a):
    return -np.logaddexp(0.0, -a)  # log(1 / (1 + exp(-a))) without overflow


def memory_mixing(h, R, num_heads):  # R_g h, each block is heads side by side, each of u / num_heads columns
    hs, Rs = np.split(h, num_heads, axis=-1), np.split(R, num_heads, axis=-1)
    return np.concatenate([h_k @ R_k for h_k, R_k in zip(hs, Rs, strict=True)], axis=-1)


def step(weights, x, states, num_heads=1, exponential_forget=False, use_bias=True):
    x, h, c, n, m = (np.asarray(a, np.float64) for a in (x, *states))
    W_i, W_f, W_z, W_o = np.split(np.asarray(weights["kernel"], np.float64), 4, axis=-1)  # order i, f, z, o
    R_i, R_f, R_z, R_o = np.split(np.asarray(weights["recurrent_kernel"], np.float64), 4, axis=-1)
    bias = np.asarray(weights["bias"], np.float64) if use_bias else np.zeros(4 * h.shape[-1])
    b_i, b_f, b_z, b_o = np.split(bias, 4)
    z = np.tanh(x @ W_z + memory_mixing(h, R_z, num_heads) + b_z)  # (37), phi = tanh
    i_tilde = x @ W_i + memory_mixing(h, R_i, num_heads) + b_i  # (38), i = exp(i_tilde)
    f_tilde = x @ W_f + memory_mixing(h, R_f, num_heads) + b_f  # (39)
    log_f = f_tilde if exponential_forget else log_sigma(f_tilde)  # (39), f = sigma OR exp
    o = np.exp(log_sigma(x @ W_o + memory_mixing(h, R_o, num_heads) + b_o))  # (40)
    m_t = np.maximum(log_f + m, i_tilde)  # (15)
    i = np.exp(i_tilde - m_t)  # (16)
    f = np.exp(log_f + m - m_t)  # (17)
    c = f * c + i * z  # (34)
    n = f * n + i  # (35)
    h = o * (c / n)  # (36)
    return h, c, n, m_t
