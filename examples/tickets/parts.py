"""The hand-written parts of the tickets: what customers of an invented shop for household goods write about.

A situation has subjects, openings, and requests. In them, {product}, {order}, {amount}, {date}, {days} and {place} are
filled in. A queue is right for a situation because of what has to be done, not because of a word: a refund that is late
is `billing` if the shop charged twice and `returns` if a parcel went back.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Situation:
    """Why somebody writes: alternatives for each part of a ticket."""

    queue: str
    subjects: tuple[str, ...]
    openings: tuple[str, ...]
    requests: tuple[str, ...]


SITUATIONS = (
    Situation(
        "billing",
        ("Charged twice for {order}", "double charge??", "Two debits on my card"),
        (
            "My card was debited {amount} twice on {date}, both times for order {order}.",
            "I see two identical charges of {amount} on my statement, and I only placed one order ({order}).",
        ),
        ("Please refund one of the two.", "Which of them is real, and when do I get the other one back?"),
    ),
    Situation(
        "billing",
        ("Invoice needed for {order}", "VAT invoice", "Wrong company name on the invoice"),
        (
            "For our bookkeeping I need a proper invoice for order {order} with our VAT number on it.",
            "The invoice for the {product} ({order}) is made out to me instead of the company.",
        ),
        ("Can you send a corrected PDF?", "Please reissue it, our accountant closes the quarter in {days} days."),
    ),
    Situation(
        "billing",
        ("Voucher not applied", "Discount code did nothing", "where did my voucher go"),
        (
            "I entered the voucher from your newsletter when I ordered the {product}, but {order} was charged in full.",
            "The checkout showed the discount, and yet the confirmation of {order} says {amount} without it.",
        ),
        ("Could you credit the difference?", "I would like the discount that I was promised."),
    ),
    Situation(
        "billing",
        ("Reminder for an invoice I paid", "Payment reminder is wrong", "Already paid!"),
        (
            "You sent me a reminder for {amount}, but I transferred that on {date} with {order} as the reference.",
            "Today there was a dunning letter about {order} in my mailbox. The money left my account {days} days ago.",
        ),
        ("Please check your records and cancel the late fee.", "Tell me what proof you need from my bank."),
    ),
    Situation(
        "billing",
        ("Price higher than in the shop", "Charged more than shown", "Amount is off"),
        (
            "The page said one price for the {product}, and my card shows {amount}, which is more.",
            "Somebody added an express surcharge to {order}, although I chose standard delivery.",
        ),
        ("Please explain the difference or pay it back.", "I want the surcharge removed from the bill."),
    ),
    Situation(
        "delivery",
        ("Where is my parcel?", "{order} still not here", "No movement since {date}"),
        (
            "I ordered the {product} {days} days ago, and the tracking has not moved since {date}.",
            "According to the tracking, {order} has been in the sorting center in {place} for {days} days.",
        ),
        ("Can you find out where it is?", "When will it arrive? I took a day off for it already."),
    ),
    Situation(
        "delivery",
        ("Marked as delivered, but nothing came", "Parcel missing", "delivered?? no"),
        (
            "The courier claims to have delivered {order} on {date}. Nobody here has signed for anything.",
            "Your mail says the {product} was left with a neighbor in {place}, and none of them has it.",
        ),
        ("Please open an investigation with the carrier.", "Send a new one, or tell me who has mine."),
    ),
    Situation(
        "delivery",
        ("Box arrived crushed", "Damaged on the way", "Broken in transit"),
        (
            "The box of {order} was open on one side, and the {product} inside is in pieces.",
            "The driver handed me a wet carton today. The {product} has a dent, as you see in the photo.",
        ),
        ("I would like a replacement sent soon.", "Does the carrier need the packaging? I kept all of it."),
    ),
    Situation(
        "delivery",
        ("Change the drop-off point", "Redirect {order}", "Not at home on {date}"),
        (
            "{order} is on its way, but on {date} I am in {place} and nobody can take it in.",
            "The courier tried twice when I was at work, and now the {product} goes to a depot far outside {place}.",
        ),
        ("Can it go to a pick-up point instead?", "Please ask them to come after six in the evening."),
    ),
    Situation(
        "delivery",
        ("Half of my order is missing", "Only one of two parcels came", "Incomplete shipment"),
        (
            "Order {order} was split. The first half came on {date}, and of the {product} there is no trace.",
            "The delivery note lists the {product}, but it was not in the carton.",
        ),
        ("When does the rest come?", "Please check with the warehouse whether it was ever packed."),
    ),
    Situation(
        "returns",
        ("Send back the {product}", "Return label please", "How do I return this"),
        (
            "The {product} is fine, but it does not match our kitchen, so I want to send it back.",
            "I ordered the wrong size of the {product} ({order}) and have not unpacked it.",
        ),
        ("Please mail me a return label.", "Do I pay for the postage, and how many days do I have left?"),
    ),
    Situation(
        "returns",
        ("Refund for my return", "No money back yet", "You have had the parcel since {date}"),
        (
            "I sent the {product} back {days} days ago. The carrier says you received it on {date}.",
            "My return of {order} was confirmed, and I still wait for the {amount}.",
        ),
        ("When will the refund arrive?", "Has the warehouse checked it in at all?"),
    ),
    Situation(
        "returns",
        ("Exchange for another color", "Can I swap it?", "Wrong color"),
        (
            "You sent the {product} in gray. I had chosen blue, and {order} says blue, too.",
            "The {product} was a present, and she would rather have the larger one.",
        ),
        ("Can I exchange it without paying for both in between?", "Where do I send it for an exchange?"),
    ),
    Situation(
        "returns",
        ("Return refused", "Why was my return rejected?", "You sent it back to me!"),
        (
            "The {product} came back to me with a note that it had been used. I only plugged it in once.",
            "My return of {order} was refused because of the missing box, about which your page says nothing.",
        ),
        ("I ask you to look at this again.", "Please accept the return, I was within the {days} days."),
    ),
    Situation(
        "returns",
        ("Broke after {days} days", "Defective, want to return it", "Warranty"),
        (
            "After {days} days the {product} no longer turns on. I have tried another outlet.",
            "The handle of the {product} came off in normal use. I bought it on {date}, order {order}.",
        ),
        ("Is this covered, and how do I send it in?", "I do not want a repair but my money back."),
    ),
    Situation(
        "account",
        ("Cannot log in", "Locked out", "password reset mail never comes"),
        (
            "I have tried to reset my password four times since {date}, and no mail ever arrives.",
            "After too many attempts my account is locked, and I have an open order, {order}.",
        ),
        ("Please unlock it.", "Can you set a temporary password, or check which address you have for me?"),
    ),
    Situation(
        "account",
        ("New address", "We have moved", "Please change my e-mail address"),
        (
            "We moved to {place} on {date}. The form in my profile does not let me delete the old address.",
            "My old e-mail address is with an employer that I left, so I cannot confirm the change with it.",
        ),
        ("Please change it for all future orders.", "What do you need from me to change it?"),
    ),
    Situation(
        "account",
        ("Delete my data", "Close my account", "GDPR request"),
        (
            "I no longer want to be a customer and ask you to delete all that you store about me.",
            "Please close the account that I opened for order {order}. I was only a guest, as I thought.",
        ),
        ("Confirm the deletion in writing within {days} days.", "What do you have to keep, and for how long?"),
    ),
    Situation(
        "account",
        ("Somebody else used my account", "Strange login from {place}", "I did not do this"),
        (
            "I got a mail about a login from {place} on {date}. I have never been there.",
            "There is an order {order} in my history that is not mine, with an address that I do not know.",
        ),
        ("Block the account until this is cleared up.", "How do I log out all other devices?"),
    ),
    Situation(
        "account",
        ("Two accounts", "Merge my accounts?", "Lost my points"),
        (
            "I have one account with my private and one with my work address, and the points are spread over both.",
            "Since I changed my name, my order history before {date} is gone from my profile.",
        ),
        ("Can you merge them?", "I would like my history and my points back."),
    ),
    Situation(
        "technical",
        ("App crashes at checkout", "Checkout does not work", "spinning wheel"),
        (
            "Each time I tap on Pay, the app closes. It began with the update of {date}.",
            "The checkout shows a spinning wheel forever, in two browsers, with the {product} in the cart.",
        ),
        ("Is that known?", "Please fix it or tell me another way to order."),
    ),
    Situation(
        "technical",
        ("Tracking page shows an error", "Error 500", "Page does not load"),
        (
            "When I open the tracking of {order}, your site says 'something went wrong', with the code 500.",
            "The invoice download of {order} only gives me an empty page. My colleague sees the same.",
        ),
        ("Can your developers have a look?", "Is your site down? It has been like this for {days} days."),
    ),
    Situation(
        "technical",
        ("Search finds nothing", "Filter broken", "Cart empties itself"),
        (
            "If I filter by size, the list stays empty, although the {product} is there when I scroll.",
            "My cart is empty again after each login. The {product} is the third thing that I lost that way.",
        ),
        ("I use an up-to-date phone, in case that matters.", "I can send a screen recording if it helps."),
    ),
    Situation(
        "technical",
        ("App does not sync with the {product}", "Bluetooth pairing fails", "Firmware update stuck"),
        (
            "Your app no longer finds the {product} since I have a new phone.",
            "The update of the {product} has been at 40 % since {date} and does not go on.",
        ),
        ("What can I try?", "Which version do I need? A restart did nothing."),
    ),
    Situation(
        "other",
        ("Does the {product} fit?", "Question before I buy", "Dimensions"),
        (
            "Before I order the {product}, I would like to know whether it is safe for an induction stove.",
            "Your page does not say how long the cable of the {product} is.",
        ),
        ("Thank you for a short answer.", "And is there a version in another color planned?"),
    ),
    Situation(
        "other",
        ("When is it back?", "Out of stock", "Restock of the {product}"),
        (
            "The {product} has been sold out for {days} days.",
            "Your branch in {place} told me that the {product} comes back in spring. The site says nothing.",
        ),
        ("Can you put one aside for me?", "Will there be more, or should I look elsewhere?"),
    ),
    Situation(
        "other",
        ("Well done", "Complaint about your staff", "Feedback"),
        (
            "I wanted to say that the woman on your hotline last week was very patient with my father.",
            "In your branch in {place} I was sent from one counter to the next for half an hour.",
        ),
        ("Please pass that on.", "I expect a statement from the manager of the branch."),
    ),
    Situation(
        "other",
        ("Cooperation", "Working with you", "Request from a school"),
        (
            "I write a blog about small kitchens and would like to review the {product}.",
            "Our school in {place} collects household goods for a workshop in {days} days.",
        ),
        ("Whom do I talk to about that?", "Would you like to take part?"),
    ),
)  # fmt: skip

CONTEXT = (
    "I have been a customer for years and never had a reason to complain.",
    "I have already called twice and was in the queue for twenty minutes.",
    "Your chat sent me here.",
    "This is my second message about it; the first one got an automatic reply.",
    "By the way, the {product} itself is great.",
    "I am not very good with computers, so please answer in simple words.",
    "It was meant as a birthday present for my sister on {date}.",
    "My order number is {order}, if you need it.",
    "I looked through your FAQ and did not find anything about this case.",
    "At first I thought that I had made a mistake, but my husband sees it in the same way.",
    "The order was placed from my phone while I was in {place}.",
    "I also wrote to you on {date}, from another address.",
    "I paid {amount} for it, which is a lot of money for us.",
    "The old one lasted for ten years.",
    "Sorry for the long text.",
    "If it matters: I ordered together with a colleague at the café.",
)  # fmt: skip
GREETINGS = ("Hello,", "Hi there,", "Dear team,", "Good morning,", "To whom it may concern,", "hey", "Bonjour,", "")
CLOSINGS = (
    "Thanks",
    "Kind regards",
    "Best wishes",
    "Thank you in advance!",
    "Regards",
    "thx",
    "Sent from my phone",
    "",
)
PRODUCTS = (
    "kettle", "stand mixer", "floor lamp", "cordless vacuum", "coffee grinder", "rice cooker", "desk fan",
    "bread box", "cast-iron pan", "crème brûlée torch", "hand blender", "kitchen scale", "air purifier",
    "laundry rack", "bathroom cabinet", "smart thermostat",
)  # fmt: skip
PLACES = ("Lyon", "Kraków", "Malmö", "Graz", "Ghent", "Cork", "Zürich", "Porto", "Leeds", "Århus")
